#!/bin/sh
# lockstep tokenize: text to token files and back, by every tokenizer; files that are there stay.
. "$(dirname "$0")/common.sh"

# Lines with blanks, digits, letters of two, three and four bytes; 10,000 bytes and more.
i=0
while [ $i -lt 200 ]; do
    printf "The %dth line's caf\303\251  costs %d \342\202\254, \360\237\216\211!\n\n" $i $((i * i))
    i=$((i + 1))
done >text
printf '#version: 0.2\n\304\240 t\nh e\nT he\n' >vocab.bpe

for name in byte char gpt2; do
    vocab=
    [ $name = gpt2 ] && vocab='--vocab vocab.bpe'
    # shellcheck disable=SC2086 # two words or none
    "$lockstep" tokenize text --tokenizer $name $vocab --out $name >out || fail "$name: tokenize"
    grep -q "^$name.train.tokens: " out && grep -q "^$name.validation.tokens: " out ||
        fail "$name: no summary"
    "$lockstep" tokenize --decode $name.train.tokens $name.validation.tokens >back ||
        fail "$name: decode"
    cmp -s text back || fail "$name: another text comes back"
done
grep -q '^tokenizer gpt2, vocabulary 260, ' out || fail "the vocabulary of gpt2"

# Several texts are one; without a validation part; into a file; packed.
head -c 3000 text >one
tail -c +3001 text | gzip >two
"$lockstep" tokenize one two --tokenizer byte --validation 0 --out joined -q >out ||
    fail "two texts"
[ -e joined.validation.tokens ] && fail "a validation part nobody asked for"
"$lockstep" tokenize --decode joined.train.tokens --out back2 || fail "decode into a file"
cmp -s text back2 || fail "two texts: another text comes back"

# What is there stays, unless --force.
cp byte.train.tokens kept
"$lockstep" tokenize one --tokenizer byte --out byte 2>err
[ $? -eq 2 ] || fail "exit code for a file that is there"
grep -q '^lockstep: byte.train.tokens: is there already; --force replaces it$' err ||
    fail "message for a file that is there"
cmp -s byte.train.tokens kept || fail "a file was overwritten"
"$lockstep" tokenize one --tokenizer byte --out byte --force >out || fail "--force"
cmp -s byte.train.tokens kept && fail "--force did nothing"

# Under mpirun one process writes, and the summary is said once.
mpi 3 "$lockstep" tokenize text --tokenizer char --out ranks >out || fail "three ranks"
[ "$(wc -l <out)" -eq 3 ] || fail "three ranks: $(cat out)"
cmp -s ranks.train.tokens char.train.tokens || fail "three ranks write another file"
"$lockstep" tokenize --help | grep -q '^usage: lockstep tokenize ' || fail "no help"
