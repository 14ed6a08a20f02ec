FROM busybox:1.36
RUN <<EOF
set -e
echo one
# kept
  two \
EOF
RUN <<-EOF
	echo tabs
	EOF
RUN cat <<A && cat <<"B" >/x
$a
A
$b
B
RUN 3<<EOF cat <&3
three
EOF
