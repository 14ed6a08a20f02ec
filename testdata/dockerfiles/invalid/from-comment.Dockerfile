FROM busybox:1.36 # the base
FROM
