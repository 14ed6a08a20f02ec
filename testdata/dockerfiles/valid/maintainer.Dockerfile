FROM busybox:1.36
MAINTAINER Jo Doe <jo@example.org>
