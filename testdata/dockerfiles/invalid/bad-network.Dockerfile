FROM busybox:1.36
RUN --network=hots true
RUN --security=unsafe true
