FROM busybox:1.36
RUN <<EOF
echo one
EOF
CMD ["true"]
