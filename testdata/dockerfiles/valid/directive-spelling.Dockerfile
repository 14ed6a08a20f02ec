#   Syntax =  docker/dockerfile:1   
#escape = `
FROM busybox:1.36
COPY a`b c\ d/
