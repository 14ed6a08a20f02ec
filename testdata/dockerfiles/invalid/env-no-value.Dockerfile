FROM busybox:1.36
ENV NAME
LABEL name
