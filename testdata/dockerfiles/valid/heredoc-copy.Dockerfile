FROM busybox:1.36
COPY <<one.txt <<'two.txt' other /dest/
hello $NAME
one.txt
as $is
two.txt
ADD <<-EOF /x
	y
	EOF
