# syntax=docker/dockerfile:1.7
# check=skip=UnpinnedBase;error=true
# escape=`

FROM busybox:1.36
RUN echo one `
    && echo two
