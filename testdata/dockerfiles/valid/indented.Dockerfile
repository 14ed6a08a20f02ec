  FROM busybox:1.36
	RUN one
    # comment
  CMD ["true"]
