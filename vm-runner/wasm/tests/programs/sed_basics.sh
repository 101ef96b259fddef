printf 'one\ntwo\nthree\n' > f
sed s/o/0/ f; sed -n 2p f; sed 2d f; sed '/^t/s/t/T/g' f; sed -e 's/e/E/g' -e '$s/$/!/' f; sed -i s/one/1/ f; cat f; sed -E 's/(t)(w|h)/\2\1/' f; sed '1i zero' f | head -1; sed '/two/a after' f; sed = f | head -2; sed 's#/#-#g' <<< a/b/c; sed -n '/two/,$p' f; sed y/abc/xyz/ <<< cab
