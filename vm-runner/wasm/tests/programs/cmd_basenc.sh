printf 'ab?>' | basenc --base64url; printf '\377' | basenc --base16; printf FF | basenc --base16 -d | od -An -tx1; printf abc | basenc --base2msbf
