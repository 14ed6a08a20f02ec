FROM busybox:1.36
CMD ["a", 1]
RUN [["nested"]]
COPY ["a", {"b": null}]
VOLUME [true]
