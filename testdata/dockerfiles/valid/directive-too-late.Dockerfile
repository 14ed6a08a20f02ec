# a comment ends the directives
# escape=`
FROM busybox:1.36
RUN echo one \
    two
