FROM busybox:1.36
RUN <<EOF
echo one
CMD ["true"]
