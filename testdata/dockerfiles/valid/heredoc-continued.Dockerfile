FROM busybox:1.36
RUN cat \
  <<EOF \
  | sort
b
a
EOF
CMD ["true"]
