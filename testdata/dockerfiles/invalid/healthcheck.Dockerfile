FROM busybox:1.36
HEALTHCHECK --interval=30 CMD true
HEALTHCHECK --timeout=1us CMD true
HEALTHCHECK --retries=-1 CMD true
HEALTHCHECK --retries=many CMD true
HEALTHCHECK CMD
HEALTHCHECK NONE now
HEALTHCHECK curl localhost
