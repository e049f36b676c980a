//! Calls that other versions answer: each says that this one does not.

/// Writes methods of a service that refuse, each in the form that the attribute on the `impl`
/// gives to an `async fn`; the attribute itself does not look into macros.
macro_rules! not_offered {
    ($($what:literal: $($method:ident($request:ident) -> $response:ident)*;)*) => {$($(
        fn $method<'call, 'future>(
            &'call self,
            _: tonic::Request<protocol::wire::$request>,
        ) -> futures_util::future::BoxFuture<
            'future,
            Result<tonic::Response<protocol::wire::$response>, tonic::Status>,
        >
        where
            'call: 'future,
            Self: 'future,
        {
            Box::pin(std::future::ready(Err($crate::service::status::not_offered($what))))
        }
    )*)*};
}

pub(super) use not_offered;
