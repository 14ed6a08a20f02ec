FROM busybox:1.36 AS 1st
FROM busybox:1.36 AS a/b
