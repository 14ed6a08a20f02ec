FROM busybox:1.36
RUN echo a\\
RUN echo b\\\
RUN echo c
