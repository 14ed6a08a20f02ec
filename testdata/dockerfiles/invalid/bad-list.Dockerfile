FROM busybox:1.36
RUN --mount=type=bind,source=\"a true
RUN --device=\"x\"y true
