FROM busybox:1.36
RUN ["sh", "-c", "cat <<EOF"]
RUN echo it's <<EOF
RUN echo $((1<<3))
CMD cat <<EOF
