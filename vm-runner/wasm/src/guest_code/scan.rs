//! What can be told of a module before it is compiled, and the limits that keep compiling one within bounds.
//!
//! The code generator needs memory in proportion to the largest function, hundreds of times its size; so a function
//! has a limit of its own. Everything else is the code generator's to check.

/// Largest body of one function. The largest of the published programs has a tenth of it.
const MAX_FUNCTION_BYTES: u32 = 1 << 20;
/// First bytes of a core module of version 1.
const CORE_MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
/// First bytes of a component, whatever its version.
const COMPONENT_LAYER: [u8; 2] = [1, 0];
/// Number of the section that holds the functions' bodies.
const CODE_SECTION: u8 = 10;

/// Whether a module may be compiled; why not, in words for the guest.
pub(super) fn check(wasm: &[u8]) -> Result<(), String> {
    let mut rest = match wasm.split_at_checked(CORE_MODULE.len()) {
        Some((head, rest)) if head == CORE_MODULE => rest,
        Some((head, _)) if head[6..8] == COMPONENT_LAYER => {
            return Err("it is a WebAssembly component; core modules for WASI preview 1 run here \
                        (target wasm32-wasip1)"
                .to_owned());
        }
        _ => return Err("it is no WebAssembly module of version 1".to_owned()),
    };
    while let Some((id, after)) = rest.split_first() {
        let (section, after) = sized(after).ok_or_else(cut)?;
        if *id == CODE_SECTION {
            check_code(section)?;
        }
        rest = after;
    }
    Ok(())
}

fn check_code(section: &[u8]) -> Result<(), String> {
    let (count, mut rest) = number(section).ok_or_else(cut)?;
    for _ in 0..count {
        let (body, after) = sized(rest).ok_or_else(cut)?;
        if body.len() > MAX_FUNCTION_BYTES as usize {
            return Err(format!(
                "one of its functions has {} bytes; at most {MAX_FUNCTION_BYTES} can be compiled here",
                body.len()
            ));
        }
        rest = after;
    }
    Ok(())
}

fn cut() -> String {
    "it is no valid WebAssembly module: it ends within a section".to_owned()
}

/// Bytes with their length before them, and what follows.
fn sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = number(bytes)?;
    rest.split_at_checked(usize::try_from(len).ok()?)
}

/// A number of 32 bits in LEB128, and what follows.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_most_32_bits() {
        assert_eq!(number(&[0x7f, 9]), Some((127, &[9][..])));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Some((u32::MAX, &[][..])));
        assert_eq!(number(&[0xff, 0xff, 0xff, 0xff, 0x1f]), None);
        assert_eq!(number(&[0x80]), None);
        assert_eq!(number(&[0x80; 6]), None);
    }

    #[test]
    fn modules_pass_and_components_are_named() {
        assert_eq!(check(&wat::parse_str("(module (func) (func))").unwrap()), Ok(()));
        assert!(check(b"\0asm\x0d\0\x01\0").unwrap_err().contains("component"));
        assert!(check(b"\0asm").unwrap_err().contains("version 1"));
        assert!(check(b"\0asm\x02\0\0\0").unwrap_err().contains("version 1"));
    }

    #[test]
    fn every_prefix_of_a_module_is_answered() {
        let wasm =
            wat::parse_str("(module (memory 1) (func (export \"f\")) (data (i32.const 0) \"abc\"))").unwrap();
        for len in 0..wasm.len() {
            let _answer = check(&wasm[..len]);
        }
        // A section that claims more than there is.
        let mut long = CORE_MODULE.to_vec();
        long.extend([CODE_SECTION, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
        assert!(check(&long).unwrap_err().contains("ends within"));
    }

    #[test]
    fn a_huge_function_is_refused_before_it_is_compiled() {
        let body = vec![0x01; MAX_FUNCTION_BYTES as usize + 1];
        let mut section = vec![1];
        let mut len = body.len();
        while len >= 0x80 {
            section.push((len & 0x7f) as u8 | 0x80);
            len >>= 7;
        }
        section.push(len as u8);
        section.extend(body);
        assert!(check_code(&section).unwrap_err().contains("1048576"));
    }
}
