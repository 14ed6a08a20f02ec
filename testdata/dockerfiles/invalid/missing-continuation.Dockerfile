FROM busybox:1.36
RUN apt-get update
    && apt-get install -y curl
