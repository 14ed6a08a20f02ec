FROM busybox:1.36
ARG DIR=/x KIND=cache
RUN --mount=type=$KIND,target=${DIR}/y true
