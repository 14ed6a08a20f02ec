FROM busybox:1.36 builder
