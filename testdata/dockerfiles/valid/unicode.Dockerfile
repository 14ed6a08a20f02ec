FROM busybox:1.36
LABEL título="naïve — 日本語"
RUN echo 'größe' && \
    echo 漢字
