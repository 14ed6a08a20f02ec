FROM busybox:1.36
COPY --from=a --from=b c /d
