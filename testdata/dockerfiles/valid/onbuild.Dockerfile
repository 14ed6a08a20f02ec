FROM busybox:1.36
ONBUILD RUN --mount=type=cache,target=/c echo one
ONBUILD COPY ["a b", "c"]
onbuild ENV A=$B
ONBUILD RUN <<EOF
echo two
EOF
ONBUILD  COPY <<A \
 /b
x
A
