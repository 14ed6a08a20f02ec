FROM --plattform=linux/amd64 busybox:1.36
COPY --form=a b /c
RUN --user=root true
WORKDIR --x /a
