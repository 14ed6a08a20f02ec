from busybox:1.36
run echo one
cmd ["true"]
