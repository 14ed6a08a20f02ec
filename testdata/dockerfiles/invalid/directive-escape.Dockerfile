# escape=x
FROM busybox:1.36
