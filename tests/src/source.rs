//! Rust source as the house rules read it.

use std::ops::Range;

/// A Rust file, taken apart.
#[derive(Debug)]
pub struct Source {
    /// The text with every comment, string and character blanked; line breaks stay, so places are the same.
    pub code: String,
    /// The contents of the string literals, with the line (from 1) on which each begins.
    pub strings: Vec<(usize, String)>,
    /// Line (from 1) of the first `#[cfg(test)]` that opens a module, if any: tests come last in a file.
    pub tests_from: Option<usize>,
}

/// A function: its name, its first line (from 1), and how many lines it has, braces and all.
#[derive(Debug, PartialEq, Eq)]
pub struct Function {
    /// The name.
    pub name: String,
    /// The line of its `fn`.
    pub line: usize,
    /// Lines from `fn` to the closing brace.
    pub lines: usize,
}

impl Source {
    /// Takes `text` apart.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut code = text.as_bytes().to_vec();
        let mut strings = Vec::new();
        let mut at = 0;
        while at < code.len() {
            let (token, end) = token(text.as_bytes(), at);
            if let Token::String(inner) = &token {
                let line = line_of(text, at);
                strings.push((line, String::from_utf8_lossy(&text.as_bytes()[inner.clone()]).into_owned()));
            }
            if !matches!(token, Token::Code) {
                code[at..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
            }
            at = end;
        }
        let code = String::from_utf8_lossy(&code).into_owned();
        let lines: Vec<&str> = code.lines().collect();
        let tests_from = lines
            .windows(2)
            .position(|pair| pair[0].trim() == "#[cfg(test)]" && pair[1].trim_start().starts_with("mod "))
            .map(|place| place + 1);
        Self { code, strings, tests_from }
    }

    /// Whether the test modules stand last, so that [`shipped`](Self::shipped) hides nothing that ships.
    #[must_use]
    pub fn tests_come_last(&self) -> bool {
        let mut rest: String = self.code.lines().skip(self.shipped().lines().count()).collect::<Vec<_>>().join("\n");
        loop {
            let Some(module) = rest.trim_start().strip_prefix("#[cfg(test)]") else { return rest.trim().is_empty() };
            let declared = module.find(['{', ';']).filter(|&at| module[at..].starts_with(';'));
            let end = declared.or_else(|| body_end(module, 0)).map_or(usize::MAX, |end| end + 1);
            rest = module.get(end..).unwrap_or_default().to_owned();
        }
    }

    /// The code before the tests.
    #[must_use]
    pub fn shipped(&self) -> String {
        let lines = self.tests_from.map_or(usize::MAX, |line| line - 1);
        self.code.lines().take(lines).collect::<Vec<_>>().join("\n")
    }

    /// Lines (from 1) of `code` on which the words of `path` stand as whole words.
    #[must_use]
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        lines_with(&self.code, word)
    }

    /// The functions that have a body.
    #[must_use]
    pub fn functions(&self) -> Vec<Function> {
        let mut functions = Vec::new();
        for (at, _) in self.code.match_indices("fn ").filter(|(at, _)| is_word_start(&self.code, *at)) {
            let head = &self.code[at + 3..];
            let name: String = head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if let Some(end) = body_end(&self.code, at).filter(|_| !name.is_empty()) {
                let line = line_of(&self.code, at);
                functions.push(Function { name, line, lines: line_of(&self.code, end) - line + 1 });
            }
        }
        functions
    }
}

/// Lines (from 1) of `code` on which `word` stands, not as a part of a longer name.
#[must_use]
pub fn lines_with(code: &str, word: &str) -> Vec<usize> {
    let ends = |at: usize| !code[at + word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let found = code.match_indices(word).filter(|(at, _)| is_word_start(code, *at) && ends(*at));
    found.map(|(at, _)| line_of(code, at)).collect()
}

fn is_word_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count() + 1
}

/// Where the body of the function that begins at `at` ends; `None` for a declaration or a function pointer.
fn body_end(code: &str, at: usize) -> Option<usize> {
    let mut brackets = 0;
    let mut braces = 0;
    for (offset, byte) in code.as_bytes()[at..].iter().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => {
                brackets -= 1;
                if brackets < 0 {
                    return None;
                }
            }
            b';' | b',' | b'=' if brackets == 0 && braces == 0 => {
                let where_clause = code[at..at + offset].contains("where");
                let generic = *byte != b';';
                if !(generic && (where_clause || code[at..at + offset].contains('<'))) {
                    return None;
                }
            }
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 {
                    return Some(at + offset);
                }
                if braces < 0 {
                    return None;
                }
            }
            _ => {}
        }
    }
    None
}

enum Token {
    Code,
    Blank,
    String(Range<usize>),
}

/// The token at `at` and where it ends. Code comes word by word, so that a name that ends in `r` begins no raw string.
fn token(text: &[u8], at: usize) -> (Token, usize) {
    let rest = &text[at..];
    if rest.starts_with(b"//") {
        return (Token::Blank, at + rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return (Token::Blank, at + comment_len(rest));
    }
    if let Some((inner, len)) = string(rest) {
        return (Token::String(at + inner.start..at + inner.end), at + len);
    }
    if let Some(len) = character(rest) {
        return (Token::Blank, at + len);
    }
    let word = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    (Token::Code, at + word.max(1))
}

fn comment_len(rest: &[u8]) -> usize {
    let mut depth = 0usize;
    let mut at = 0;
    while at < rest.len() {
        let step = match &rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        at += step;
        if depth == 0 {
            break;
        }
    }
    at.min(rest.len())
}

/// A string literal of any kind: the range of its contents, and its length.
fn string(rest: &[u8]) -> Option<(Range<usize>, usize)> {
    let prefix = ["br", "cr", "r", "b", "c", ""].into_iter().find(|prefix| {
        let after = rest.strip_prefix(prefix.as_bytes()).unwrap_or_default();
        let hashes = after.iter().take_while(|&&byte| byte == b'#').count();
        after.get(hashes) == Some(&b'"') && (hashes == 0 || prefix.ends_with('r'))
    })?;
    let hashes = rest[prefix.len()..].iter().take_while(|&&byte| byte == b'#').count();
    let start = prefix.len() + hashes + 1;
    let mut at = start;
    if prefix.ends_with('r') {
        let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
        while at < rest.len() && !rest[at..].starts_with(&end) {
            at += 1;
        }
        return Some((start..at, (at + end.len()).min(rest.len())));
    }
    while at < rest.len() && rest[at] != b'"' {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    let at = at.min(rest.len());
    Some((start..at, (at + 1).min(rest.len())))
}

/// The length of a character literal; a lifetime is none.
fn character(rest: &[u8]) -> Option<usize> {
    let start = usize::from(rest.first() == Some(&b'b')) + 1;
    if rest.get(start - 1) != Some(&b'\'') {
        return None;
    }
    if rest.get(start) == Some(&b'\\') {
        return rest[start + 2..].iter().position(|&byte| byte == b'\'').map(|place| start + 2 + place + 1);
    }
    let text = std::str::from_utf8(&rest[start..rest.len().min(start + 4)]);
    let len = text.map_or_else(|error| error.valid_up_to(), str::len).min(4);
    let first = std::str::from_utf8(&rest[start..start + len]).ok()?.chars().next()?;
    (rest.get(start + first.len_utf8()) == Some(&b'\'')).then(|| start + first.len_utf8() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        let source = Source::new(
            "let a = \"un\\\"safe\"; // unsafe\nlet b = 'x'; /* unsafe /* nested */ */ let c = r#\"dbg!\"#;",
        );
        assert_eq!(source.lines_with("unsafe"), Vec::<usize>::new());
        assert_eq!(source.strings, [(1, "un\\\"safe".to_owned()), (2, "dbg!".to_owned())]);
        assert_eq!(source.lines_with("let"), [1, 2, 2]);
    }

    #[test]
    fn lifetimes_and_escaped_characters_do_not_open_anything() {
        let source = Source::new("fn f<'a>(x: &'a str) -> char { match x { _ => '\\'' } }\nfn g() { unsafe {} }\n");
        assert_eq!(source.lines_with("unsafe"), [2]);
        assert_eq!(Source::new("let q = b'\"'; unsafe").lines_with("unsafe"), [1]);
    }

    #[test]
    fn a_function_is_measured_from_fn_to_brace() {
        let source = Source::new(
            "trait T { fn declared(&self); }\nfn long(\n a: [u8; 4],\n) where u8: Sized {\n {\n }\n}\nfn short() {}\n",
        );
        let found: Vec<_> = source.functions().into_iter().map(|f| (f.name, f.line, f.lines)).collect();
        assert_eq!(found, [("long".to_owned(), 2, 6), ("short".to_owned(), 8, 1)]);
    }

    #[test]
    fn what_stands_after_the_test_module_is_not_shipped() {
        let source = Source::new("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n");
        assert_eq!(source.shipped(), "fn a() {}");
    }

    #[test]
    fn code_behind_a_test_module_is_noticed() {
        let last = |text: &str| Source::new(text).tests_come_last();
        assert!(last("fn a() {}\n") && last("fn a() {}\n#[cfg(test)]\nmod tests {\n fn b() {}\n}\n"));
        assert!(last("fn a() {}\n#[cfg(test)]\nmod x;\n#[cfg(test)]\nmod y;\n"));
        assert!(!last("#[cfg(test)]\nmod tests;\nfn a() {}\n"));
        assert!(!last("#[cfg(test)]\nmod tests {\n fn b() {}\n}\nfn a() {}\n"));
    }
}
