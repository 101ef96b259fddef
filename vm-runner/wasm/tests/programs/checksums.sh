printf abc > f; md5sum f; sha1sum f; sha256sum f; cksum f; sha256sum f > s; sha256sum -c s; base64 f; base64 -d <<< YWJj; echo
