FROM busybox:1.36
COPY --from=a -- --odd /name
RUN -- -x
