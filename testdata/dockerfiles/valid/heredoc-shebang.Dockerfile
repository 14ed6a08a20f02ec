FROM busybox:1.36
RUN <<SCRIPT
#!/usr/bin/env python3
print("<<NO")
SCRIPT
