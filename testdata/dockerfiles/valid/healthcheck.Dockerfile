FROM busybox:1.36
HEALTHCHECK --interval=5m --timeout=3s --start-period=1.5s --start-interval=100ms --retries=5 CMD curl -f http://localhost/ || exit 1
HEALTHCHECK CMD ["a", "b"]
HEALTHCHECK cmd a   b
HEALTHCHECK --interval=0s CMD true
HEALTHCHECK NONE
