//! Rust source cut into tokens: comments and the insides of strings gone, line numbers kept.

/// One identifier, number, literal or punctuation mark. `::` and `->` are one token each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
}

/// Stands for any string literal.
pub(crate) const STRING: &str = "\"\"";

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let chars: Vec<char> = source.chars().collect();
    let mut scan = Scan { chars, at: 0, line: 1, tokens: Vec::new() };
    while scan.at < scan.chars.len() {
        scan.step();
    }
    scan.tokens
}

struct Scan {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Scan {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn skip(&mut self, count: usize) {
        for _ in 0..count {
            if self.peek(0) == '\n' {
                self.line += 1;
            }
            self.at += 1;
        }
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.tokens.push(Token { text: text.into(), line });
    }

    fn step(&mut self) {
        let (line, c) = (self.line, self.peek(0));
        match c {
            c if c.is_whitespace() => self.skip(1),
            '/' if self.peek(1) == '/' => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.skip(1);
                }
            }
            '/' if self.peek(1) == '*' => self.block_comment(),
            '"' => {
                self.string();
                self.push(STRING, line);
            }
            'r' | 'b' | 'c' if self.raw_string_hashes().is_some() => {
                self.raw_string();
                self.push(STRING, line);
            }
            'b' | 'c' if self.peek(1) == '"' => {
                self.skip(1);
                self.string();
                self.push(STRING, line);
            }
            '\'' => self.quote(),
            c if c == '_' || c.is_alphanumeric() => {
                let start = self.at;
                while self.peek(0) == '_' || self.peek(0).is_alphanumeric() {
                    self.skip(1);
                }
                let word: String = self.chars[start..self.at].iter().collect();
                self.push(word, line);
            }
            ':' if self.peek(1) == ':' => {
                self.skip(2);
                self.push("::", line);
            }
            '-' if self.peek(1) == '>' => {
                self.skip(2);
                self.push("->", line);
            }
            c => {
                self.skip(1);
                self.push(c, line);
            }
        }
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.skip(2);
                }
                ('*', '/') => {
                    depth -= 1;
                    self.skip(2);
                    if depth == 0 {
                        return;
                    }
                }
                _ => self.skip(1),
            }
        }
    }

    fn string(&mut self) {
        self.skip(1);
        while self.at < self.chars.len() && self.peek(0) != '"' {
            self.skip(if self.peek(0) == '\\' { 2 } else { 1 });
        }
        self.skip(1);
    }

    /// How many `#` open the raw string that starts here, if one does.
    fn raw_string_hashes(&self) -> Option<usize> {
        let mut ahead = if self.peek(0) == 'r' { 1 } else { 2 };
        if ahead == 2 && self.peek(1) != 'r' {
            return None;
        }
        let mut hashes = 0;
        while self.peek(ahead) == '#' {
            hashes += 1;
            ahead += 1;
        }
        (self.peek(ahead) == '"').then_some(hashes)
    }

    fn raw_string(&mut self) {
        let hashes = self.raw_string_hashes().expect("the caller looked");
        while self.peek(0) != '"' {
            self.skip(1);
        }
        self.skip(1);
        while self.at < self.chars.len() {
            if self.peek(0) == '"' && (1..=hashes).all(|ahead| self.peek(ahead) == '#') {
                self.skip(1 + hashes);
                return;
            }
            self.skip(1);
        }
    }

    /// A character literal or a lifetime.
    fn quote(&mut self) {
        let line = self.line;
        if self.peek(1) == '\\' {
            self.skip(2);
            self.skip(1);
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.skip(1);
            }
            self.skip(1);
            self.push(STRING, line);
        } else if self.peek(2) == '\'' {
            self.skip(3);
            self.push(STRING, line);
        } else {
            self.skip(1);
        }
    }
}

/// Index of the token that closes the bracket at `open`.
pub(crate) fn closing(tokens: &[Token], open: usize) -> usize {
    let (up, down) = match tokens[open].text.as_str() {
        "{" => ("{", "}"),
        "(" => ("(", ")"),
        "[" => ("[", "]"),
        other => panic!("`{other}` opens nothing"),
    };
    let mut depth = 0;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        if token.text == up {
            depth += 1;
        } else if token.text == down {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    tokens.len() - 1
}

/// Do the tokens at `at` read like this?
pub(crate) fn reads(tokens: &[Token], at: usize, texts: &[&str]) -> bool {
    texts.iter().enumerate().all(|(i, text)| tokens.get(at + i).is_some_and(|token| token.text == *text))
}

/// The source without what is compiled for tests only, and the names of the modules that are.
pub(crate) fn without_tests(tokens: &[Token]) -> (Vec<Token>, Vec<String>) {
    let (mut kept, mut test_modules) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        if !reads(tokens, at, &["#", "[", "cfg", "(", "test", ")", "]"]) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += 7;
        while reads(tokens, at, &["#", "["]) {
            at = closing(tokens, at + 1) + 1;
        }
        // The item that follows ends with a block or, before any block, with a semicolon.
        let item = at;
        while at < tokens.len() && tokens[at].text != ";" && tokens[at].text != "{" {
            at += 1;
        }
        if let Some(name) = (item..at).find(|i| tokens[*i].text == "mod") {
            test_modules.push(tokens[name + 1].text.clone());
        }
        at = if tokens.get(at).is_some_and(|token| token.text == "{") { closing(tokens, at) + 1 } else { at + 1 };
    }
    (kept, test_modules)
}

#[test]
fn comments_strings_and_characters_hide_what_is_in_them() {
    let source = "a /* b /* c */ */ \"d\\\"e\" // f\n r#\"g \" h\"# 'i' '\\'' x::<'static>";
    let words: Vec<_> = tokens(source).into_iter().map(|token| token.text).collect();
    assert_eq!(words, ["a", STRING, STRING, STRING, STRING, "x", "::", "<", "static", ">"]);
}

#[test]
fn test_only_items_are_taken_out() {
    let (kept, modules) = without_tests(&tokens(
        "fn a() {} #[cfg(test)] mod far; #[cfg(test)] #[allow(x)] mod near { fn b() {} } fn c() {} #[cfg(test)] use d::e;",
    ));
    let words: Vec<_> = kept.into_iter().map(|token| token.text).collect();
    assert_eq!(words.join(" "), "fn a ( ) { } fn c ( ) { }");
    assert_eq!(modules, ["far", "near"]);
}
