FROM busybox:1.36
RUN <<$EOF <<eo\'f <<'e f' <<"g"h
1
$EOF
2
eo'f
3
e f
4
gh
RUN << EOF cat
spaced
EOF
RUN cat <<<here "<<no" '<<no' a<<no
