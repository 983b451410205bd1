//! Splits a line into tokens and takes off what listings put around the instruction.

use super::Fault;

/// A token and where in the line it starts, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) at: usize,
    /// Where it ends.
    pub(super) end: usize,
    pub(super) kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind<'a> {
    /// A register, keyword, mnemonic or label; `2f` too.
    Word(&'a str),
    /// An unsigned number with its text.
    Number(u64, &'a str),
    /// An operator or bracket.
    Symbol(&'static str),
}

/// What a listing says in front of the instruction.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Prefix {
    /// Slot number and where it stands.
    pub(super) pc: Option<(usize, u64)>,
    /// Opcode, from the kernel's listings.
    pub(super) opcode: Option<u8>,
}

/// All operators, longer ones before their beginnings.
const SYMBOLS: &[&str] = &[
    "<<=", ">>=", "+=", "-=", "*=", "/=", "|=", "&=", "%=", "^=", "==", "!=", ">=", "<=", "<", ">", "&", "=",
    "+", "-", "*", "(", ")", "[", "]", ",", ":", ";",
];

/// Operators on signed numbers, which start with a letter.
const SIGNED_SYMBOLS: &[&str] = &["s>>=", "s/=", "s%=", "s>=", "s<=", "s>", "s<"];

/// The tokens of a line, without comments. Takes time in proportion to the line.
pub(super) fn tokens(line: &str) -> Result<(Prefix, Vec<Token<'_>>), Fault> {
    let (prefix, start) = prefix(line);
    let symbol = jump_symbol(line);
    let mut tokens = Vec::new();
    let mut at = start;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let blank = rest.len() - rest.trim_start().len();
        if blank > 0 {
            at += blank;
            continue;
        }
        let comment = rest.starts_with("//")
            || rest.starts_with(';') && (prefix.opcode.is_some() || tokens.is_empty())
            || rest.starts_with('#') && !is_call_number(rest, &tokens, at);
        if comment || symbol == Some(at) && !tokens.is_empty() {
            break;
        }
        let (kind, len) = token(rest).map_err(|message| Fault { at, message })?;
        tokens.push(Token { at, kind, end: at + len });
        at += len;
    }
    Ok((prefix, tokens))
}

/// The first token of `rest` and its length.
fn token(rest: &str) -> Result<(Kind<'_>, usize), String> {
    if let Some(symbol) = SIGNED_SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        return Ok((Kind::Symbol(symbol), symbol.len()));
    }
    if rest.starts_with('#') {
        return Ok((Kind::Symbol("#"), 1));
    }
    let percent = usize::from(rest.starts_with('%'));
    let word_end = |text: &str| text.find(|c: char| !is_word(c)).unwrap_or(text.len());
    let name = rest.get(percent..).unwrap_or_default();
    if name.starts_with(|c: char| is_word(c) && !c.is_ascii_digit()) {
        let len = word_end(name);
        return Ok((Kind::Word(name.get(..len).unwrap_or_default()), len + percent));
    }
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        let len = word_end(rest);
        let text = rest.get(..len).unwrap_or_default();
        return number(text).map(|kind| (kind, len));
    }
    match SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
        Some(symbol) => Ok((Kind::Symbol(symbol), symbol.len())),
        None => {
            let found = rest.chars().next().unwrap_or_default();
            Err(format!("unexpected character {found:?}"))
        }
    }
}

fn number(text: &str) -> Result<Kind<'_>, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    if let Ok(value) = parsed {
        return Ok(Kind::Number(value, text));
    }
    match text.strip_suffix(['b', 'f']) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => Ok(Kind::Word(text)),
        Some(_) | None => Err(format!("`{}` is no number of up to 64 bits", shortened(text))),
    }
}

/// Text for an error message, which need not repeat a whole line.
pub(super) fn shortened(text: &str) -> String {
    const MAX_CHARS: usize = 40;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '$' | '@')
}

/// Whether the `#` at the start of `rest` belongs to `call name#12`: no blank before it, a number after it.
fn is_call_number(rest: &str, tokens: &[Token<'_>], at: usize) -> bool {
    let number = rest.strip_prefix('#').unwrap_or(rest);
    let digits = number.strip_prefix('-').unwrap_or(number);
    let called = match tokens {
        [.., Token { kind: Kind::Word("call"), .. }, name] => Some(name),
        // `call kernel-function#12`
        [.., Token { kind: Kind::Word("call"), .. }, _, Token { kind: Kind::Symbol("-"), .. }, name] => {
            Some(name)
        }
        _ => None,
    };
    called.is_some_and(|name| name.end == at) && digits.starts_with(|c: char| c.is_ascii_digit())
}

/// Where objdump names the target of a jump at the end of a line: `goto +0x2 <f+0x18>`.
fn jump_symbol(line: &str) -> Option<usize> {
    let line = line.trim_end();
    let at = line.rfind('<').filter(|_| line.ends_with('>'))?;
    let spaced = line.get(at..)?.contains(char::is_whitespace);
    if spaced { None } else { Some(at) }
}

/// Recognises `12: (b7) ` and `12: b7 00 00 00 00 00 00 00 `, and says where the instruction starts.
fn prefix(line: &str) -> (Prefix, usize) {
    let nothing = (Prefix::default(), 0);
    let start = line.len() - line.trim_start().len();
    let body = line.get(start..).unwrap_or_default();
    let Some((digits, rest)) = body.split_once(':') else { return nothing };
    let Ok(pc) = digits.parse::<u64>() else { return nothing };
    let pc = Some((start, pc));
    let rest = rest.trim_start();
    let from_end = |rest: &str| line.len() - rest.len();
    if let Some((opcode, rest)) = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        && let (2, Ok(opcode)) = (opcode.len(), u8::from_str_radix(opcode, 16))
    {
        return (Prefix { pc, opcode: Some(opcode) }, from_end(rest));
    }
    match hex_bytes(rest) {
        Some(rest) => (Prefix { pc, opcode: None }, from_end(rest)),
        None => nothing,
    }
}

/// What follows the 8 or 16 hexadecimal bytes at the start of `text`.
fn hex_bytes(mut text: &str) -> Option<&str> {
    let mut count = 0;
    while let Some((byte, rest)) = text.split_at_checked(2)
        && byte.bytes().all(|digit| digit.is_ascii_hexdigit())
        && (rest.is_empty() || rest.starts_with([' ', '\t']))
    {
        text = rest.trim_start();
        count += 1;
    }
    (count == 8 || count == 16).then_some(text)
}
