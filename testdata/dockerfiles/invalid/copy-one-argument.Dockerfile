FROM busybox:1.36
COPY a
COPY
ADD ["a"]
