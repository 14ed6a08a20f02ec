FROM busybox:1.36
RUN one && \
# a comment
    # an indented one

    two && \
    three # not a comment
# after
CMD ["true"]
