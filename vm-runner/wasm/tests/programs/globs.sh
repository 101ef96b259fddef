touch a1 a2 b1
echo a* [ab]1 ?2
echo nomatch*
mkdir d; touch d/x; echo d/*; echo [!a]1; echo .[!.]*; shopt -s nullglob; echo none*
