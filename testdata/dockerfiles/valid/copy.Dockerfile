FROM busybox:1.36
COPY a b c/ /dest/
COPY ["a b", "c", "/d e/"]
COPY --from=x --link --parents --exclude=*.md --exclude=**/*.log ./a/./b /c/
COPY --link=false --chmod=0644 a /b
COPY "a  b" c\ d/
