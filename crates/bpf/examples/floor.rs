//! Puts an empty program at the hook of the dispatcher of system calls until standard input ends: what is measured
//! beside it is what the kernel takes for the hook itself.
#![expect(clippy::print_stdout, reason = "an example for people")]

use std::io::Read as _;

use libbpf_rs::ObjectBuilder;

#[repr(C, align(8))]
struct Aligned<T: ?Sized>(T);
static OBJECT: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/floor.bpf.o")));

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let object = ObjectBuilder::default().open_memory(&OBJECT.0)?.load()?;
    let program = object.progs_mut().next().ok_or("no program in the object")?;
    let _link = program.attach_trace()?;
    println!("attached");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
