touch -d '2020-01-02 03:04:05 UTC' f; stat -c %Y f; cp -p f g; stat -c %Y g; touch -r f h; stat -c %Y h; [ f -ot /proc ] && echo old
