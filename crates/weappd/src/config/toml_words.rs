//! What the TOML parser says of a line, in Chinese.

/// The beginning of what it says, up to what it expected.
const WORDS: [(&str, &str); 38] = [
    ("string values must be quoted", "字符串要加引号"),
    ("missing opening quote", "缺少开头的引号"),
    (
        "missing comma between array elements",
        "列表的两项之间缺少逗号",
    ),
    (
        "missing assignment between key-value pairs",
        "键和值之间缺少 =",
    ),
    ("unexpected leading zero", "数字前面多了 0"),
    ("unclosed array table", "[[节]] 没有写完，缺少 ]]"),
    ("missing key for inline table element", "{ } 里的一项缺少键"),
    ("missing inline table opening", "缺少 {"),
    ("missing escaped value", "反斜杠后面缺少字符"),
    ("missing array opening", "缺少 ["),
    (
        "invalid unquoted key",
        "不带引号的键只能用字母、数字、- 和 _",
    ),
    (
        "cannot recurse further; max recursion depth met",
        "嵌套太深",
    ),
    ("unquoted keys cannot be empty", "键不能是空的"),
    ("unexpected sign", "多了正负号"),
    ("unexpected key or value", "多了一个键或值"),
    (
        "unexpected content between comment and newline",
        "注释和换行之间有多余的内容",
    ),
    ("unexpected content", "有多余的内容"),
    ("unexpected `=` in array", "列表里多了 ="),
    ("unclosed table", "[节] 没有写完，缺少 ]"),
    ("unclosed inline table", "{ 没有对应的 }"),
    ("unclosed array", "[ 没有对应的 ]"),
    ("redundant numeric sign", "正负号写了两次"),
    ("missing value for key", "键没有值"),
    ("missing value", "缺少值"),
    ("missing table open", "缺少 ["),
    ("missing comma between key-value pairs", "两项之间缺少逗号"),
    ("key with no value", "键没有值"),
    ("invalid value", "值的写法不对"),
    ("invalid key-value pair", "这一行不是“键 = 值”"),
    ("invalid inline table element", "{ } 里的一项写法不对"),
    ("invalid comment character", "注释里有不允许的字符"),
    ("extra comma in inline table", "{ } 里多了逗号"),
    ("extra comma in array", "列表里多了逗号"),
    (
        "extra assignment between key-value pairs",
        "键和值之间多了 =",
    ),
    ("extra `=`", "多了 ="),
    (
        "invalid basic string",
        "字符串没有写完：缺少末尾的引号，或有不允许的字符",
    ),
    (
        "invalid literal string",
        "这里的写法不对：可能缺少引号或逗号",
    ),
    ("duplicate key", "这个键写了两次"),
];

/// The same in Chinese, where it is known.
pub(crate) fn in_chinese(message: &str) -> String {
    let known = WORDS.iter().find(|(known, _)| message.starts_with(known));
    known.map_or_else(
        || format!("TOML 语法错误：{message}"),
        |(_, chinese)| (*chinese).to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_by_mistake_is_told_without_english() {
        for text in [
            "domain = a.com",
            "[app\nrun = 1",
            "run = \"x",
            "[[x]\na = 1",
            "domain",
            "domain =",
            "a = [1 2]",
            "a = [1,,2]",
            "a = { b = 1 c = 2 }",
            "a = { b = 1,, c = 2 }",
            "a = [1, 2",
            "a = 1 2",
            "a = 1\na = 2",
            "a = \"b\" c = \"d\"",
            "a == 1",
            "= 1",
            "a b = 1",
        ] {
            let (_, errors) = toml::de::DeTable::parse_recoverable(text);
            assert!(!errors.is_empty(), "{text}");
            for error in errors {
                let told = in_chinese(error.message());
                assert!(!told.contains("语法错误"), "{text}: {told}");
            }
        }
        assert!(in_chinese("a new word").contains("a new word"));
    }

    #[test]
    fn no_word_hides_a_longer_one() {
        for (at, (long, _)) in WORDS.iter().enumerate() {
            let hidden = WORDS
                .iter()
                .take(at)
                .find(|(short, _)| long.starts_with(short));
            assert!(hidden.is_none(), "{long}: {hidden:?}");
        }
    }
}
