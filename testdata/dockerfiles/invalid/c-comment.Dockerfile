// a comment
FROM busybox:1.36
