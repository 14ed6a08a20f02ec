FROM busybox:1.36
	RUN --mount=type=cache,tärget=/漢字 echo größe
