FROM busybox:1.36
RUN --mount=type=cache,tagret=/x true
