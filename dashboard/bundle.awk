# awk -f bundle.awk DIR/app.js: prints it and all that it imports as one module, without
# indentation and comments, so that a browser asks once. Every module becomes a function that
# is called once and returns its exports. It understands imports and exports that stand on
# one line, comments behind three spaces, as they do here, and no circles.

# The path that text, ending in 'from ...', means to the module in folder.
function resolve(folder, text) {
	sub(/.* from '/, "", text)
	sub(/'.*/, "", text)
	text = folder text
	gsub(/\/\.\//, "/", text)
	while (sub(/\/[^\/]+\/\.\.\//, "/", text))
		;
	return text
}

function bundle(path,    folder, line, from, word, exports, n, body) {
	folder = path
	sub(/[^\/]*$/, "", folder)
	while ((n = (getline line < path)) > 0) {
		sub(/^[ \t]+/, "", line)
		sub(/   +\/\/ .*/, "", line)
		if (line == "" || line ~ /^\/\//)
			continue
		if (line ~ /^import /) {
			from = resolve(folder, line)
			if (!(from in names))
				bundle(from)
			sub(/^import /, "", line)
			sub(/ from .*/, "", line)
			gsub(/ as /, ": ", line)
			if (!sub(/^\*: /, "", line) && line !~ /^[{]/)
				line = "{ default: " line " }"
			line = "const " line " = " names[from] ";"
		} else if (sub(/^export default /, "const $default = ", line)) {
			exports = exports "default: $default, "
		} else if (sub(/^export /, "", line)) {
			word = line
			sub(/^(const|class|function) /, "", word)
			if (word ~ /^[{]/)
				sub(/[}].*/, "", word)
			else
				sub(/[^a-zA-Z0-9_].*/, "", word)
			sub(/^[{] /, "", word)
			exports = exports word ", "
		}
		body = body line "\n"
	}
	if (n < 0) {
		print "bundle.awk: cannot read " path > "/dev/stderr"
		exit 1
	}
	close(path)
	names[path] = "module" ++count
	printf "const %s = (() => {\n%sreturn { %s};\n})();\n", names[path], body, exports
}

BEGIN {
	bundle(ARGV[1])
}
