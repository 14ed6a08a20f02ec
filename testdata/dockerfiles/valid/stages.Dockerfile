FROM busybox:1.36 AS Base
FROM base as build
RUN make
FROM scratch AS x-1_a.b
COPY --from=build /out /
COPY --from=0 /etc /etc
