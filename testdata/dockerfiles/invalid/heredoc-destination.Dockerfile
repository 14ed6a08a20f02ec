FROM busybox:1.36
COPY a <<EOF
x
EOF
