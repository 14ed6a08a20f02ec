FROM busybox:1.36
SHELL /bin/bash -c
SHELL []
SHELL
