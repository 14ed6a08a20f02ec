#!/usr/bin/env -S rbuild -f
# syntax=docker/dockerfile:1
FROM busybox:1.36
